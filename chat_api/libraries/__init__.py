"""The private parts of libraries that the service uses: one file per library, with the reasons."""
