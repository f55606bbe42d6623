"""What every side of the wire needs: errors, addresses, channels, streams that resume."""
