"""What a disk may lose, known again by its digest, and made again."""
