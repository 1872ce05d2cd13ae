"""What a launch script is: flags in, a call of a whole pipeline, an exit status out."""
