"""Small array functions shared by modules, losses, clustering and tracking."""
