"""What others define: masks, images, result and annotation files, each in one place."""
