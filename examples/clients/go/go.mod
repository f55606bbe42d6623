module pollinator.dev/follow

go 1.19
