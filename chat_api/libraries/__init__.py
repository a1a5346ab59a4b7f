"""What the service uses of libraries beyond their public interface: a file a library, with reasons."""
