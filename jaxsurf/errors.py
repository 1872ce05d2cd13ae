"""What a user did wrong, said in one line."""


class UserError(Exception):
    """A mistake of the user's, or of the user's files: one line that names cause and cure.

    Launch scripts print the line on standard error and end with status 1, without a traceback.
    Anything else that is raised is a defect of jaxsurf.
    """

    def __init__(self, cause: str, *, cure: str = "") -> None:
        line = f"{cause}; {cure}" if cure else cause
        super().__init__(" ".join(line.split()))
