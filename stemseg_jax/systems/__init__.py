"""Networks, losses, clustering and tracking joined into the methods of the papers."""
