"""For the app's tests: `import standin` finds the hand-made run beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
