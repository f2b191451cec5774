"""A server of OpenEnv with a guessing game, for ``test_servers``, on a socket that it is started with."""

import socket
import sys
from typing import Any

from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app


class Guess(Action):
    guess: int


class Told(Observation):
    text: str = ""


class Game(Environment):
    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self.secret, self.left = 0, 0

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Told:
        self.secret, self.left = (seed or 0) % 8, 3
        return Told(text="Guess from 0 to 7.", done=False, reward=None)

    def step(self, action: Guess, timeout_s: float | None = None, **kwargs: Any) -> Told:
        self.left -= 1
        if action.guess == self.secret:
            return Told(text="right", done=True, reward=1.0)
        return Told(text="more" if action.guess < self.secret else "less", done=self.left == 0, reward=0.0)

    @property
    def state(self) -> State:
        return State()


if __name__ == "__main__":
    import uvicorn

    app = create_fastapi_app(Game, Guess, Told, max_concurrent_envs=64)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
