module rps-maestro.io/bench/driver

go 1.26
