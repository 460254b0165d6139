"""What can go wrong through a user's input.

ValueError
  SuperresError         every error below; shells (command line, UDF) show its message alone
    UnknownModelError   no shipped model has this name, no card is at this path
    ModelError          a model file disagrees with its card
    SceneError          a source can't be read as a Sentinel-2 scene
      UnknownSceneError   nothing that is known as a scene is there
    OutputError         a result can't be written where it was asked
    ProcessError        a process graph that no back-end could run as it was meant
    JudgeError          a judge of an evaluation can't be asked
"""

from .udf import SuperresError


class UnknownModelError(SuperresError):
    """No shipped model has this name, and no card is at this path."""


class ModelError(SuperresError):
    """A model file disagrees with its card."""


class SceneError(SuperresError):
    """A source can't be read as a Sentinel-2 scene."""


class UnknownSceneError(SceneError):
    """Nothing that is known as a scene is there."""


class OutputError(SuperresError):
    """A result can't be written where it was asked."""


class ProcessError(SuperresError):
    """A process graph that no back-end could run as it was meant."""


class JudgeError(SuperresError):
    """A judge of an evaluation can't be asked: its environment is not there, or fails."""


__all__ = [
    "JudgeError",
    "ModelError",
    "OutputError",
    "ProcessError",
    "SceneError",
    "SuperresError",
    "UnknownModelError",
    "UnknownSceneError",
]
