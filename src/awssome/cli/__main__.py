"""`python -m awssome.cli`: how the program starts itself, whatever its path."""

from awssome.cli import main

main()
