# -*- coding: latin-1 -*-
GRUSS = "Grüße aus Köln"
