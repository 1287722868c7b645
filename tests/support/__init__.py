"""What tests share: small runs, hand-made runs, hostile files, the app and a browser."""
