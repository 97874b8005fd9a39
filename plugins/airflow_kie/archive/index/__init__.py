"""The index of an archive: what makes hundreds of thousands of results listable and searchable."""
