"""`python -m pipeflow`: the command line. Imports cli."""

from pipeflow.cli import main

main()
