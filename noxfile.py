"""The tests that speak to the Hub, under every supported line of its client."""

import nox


@nox.session
@nox.parametrize("client", ["huggingface_hub>=1.31,<2", "huggingface_hub>=2,<3"], ids=["1", "2"])
def tests(session: nox.Session, client: str) -> None:
    session.install("-e", ".[dev]", client)
    session.run("pytest", "-m", "hub", *session.posargs)
