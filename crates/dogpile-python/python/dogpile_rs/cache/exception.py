"""Exceptions of regions and backends."""


class DogpileCacheException(Exception):
    """The base of all exceptions of this package."""


class RegionAlreadyConfigured(DogpileCacheException):
    """A region was configured a second time, without `replace_existing_backend`."""


class RegionNotConfigured(DogpileCacheException):
    """A region was used before it was configured."""


class ValidationError(DogpileCacheException):
    """A setting of a region has a value that cannot be."""


class PluginNotFound(DogpileCacheException):
    """There is no backend of that name."""


class BackendError(DogpileCacheException, ConnectionError):
    """A native backend could not reach its server, or got an answer that makes no sense."""


class WaitTimeout(DogpileCacheException, TimeoutError):
    """The value was not created by another caller in the time that this one waits."""


class RecursiveCreation(DogpileCacheException, RuntimeError):
    """A creator asked for the value that it is creating, which would wait for itself for ever."""


class NotSerializable(DogpileCacheException, TypeError):
    """The value cannot be serialized for the backend."""
