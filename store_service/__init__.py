"""A server. Its public interface is the contract (protos/); there is none in Python."""

__all__: list[str] = []
