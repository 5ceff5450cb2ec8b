module maestro.invalid/pause

go 1.24.0
