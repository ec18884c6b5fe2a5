"""Where targets are unsure: label files against phones, speakers and what they get right, and a page on which one hears it."""
