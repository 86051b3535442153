"""Files made to do harm, by hypothesis, and what their readers must make of them."""
