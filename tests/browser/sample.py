"""A sample conversation."""

QUESTION = "How do I find prime numbers in Python?"
ANSWER = """The **sieve of Eratosthenes** crosses out the multiples of each prime:

```python
def primes(limit: int) -> list[int]:
    \"\"\"All primes up to the limit.\"\"\"
    sieve = [True] * (limit + 1)
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = [False] * len(sieve[number * number :: number])
    return [number for number in range(2, limit + 1) if sieve[number]]
```

### Why it is quick

1. Each number is crossed out once for each of its prime factors.
2. It starts at `number * number`: smaller multiples are [crossed out already](https://en.wikipedia.org/wiki/Sieve).

| Up to | Primes | Time |
|---|--:|--:|
| 1,000 | 168 | 0.1 ms |
| 1,000,000 | 78,498 | 60 ms |

> Above a hundred million, use a segmented sieve.
"""
