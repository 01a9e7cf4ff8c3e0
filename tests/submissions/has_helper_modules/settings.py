NAME = "four modules and a package"
