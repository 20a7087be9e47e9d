"""What two or more of gateway, router and worker use, free of any one's vocabulary; also the `weft` command."""
