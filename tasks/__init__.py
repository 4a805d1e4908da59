"""The shipped examples, written as a user of the library would write them."""
