"""What depends on the machine: files and folders, network variables, shell, and terminal."""
