"""What queries reach: how many keys, and how much of full attention's mass these hold."""
