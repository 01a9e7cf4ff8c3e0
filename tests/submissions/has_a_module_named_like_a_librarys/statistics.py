SOURCE = "the author's"
