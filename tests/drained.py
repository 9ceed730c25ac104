"""What a generator gives, and what it returns."""


def drained(generator):
    items = []
    while True:
        try:
            items.append(next(generator))
        except StopIteration as end:
            return items, end.value
