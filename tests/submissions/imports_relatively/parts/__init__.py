NAME = "three levels"
