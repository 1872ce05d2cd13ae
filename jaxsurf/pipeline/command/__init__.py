"""What a launch script is: flags in, a call of a whole road, an exit status out."""
