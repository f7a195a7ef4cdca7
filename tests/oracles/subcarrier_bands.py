"""Bands of interference as a hidden Markov chain, by loops over places; one link at a time."""


def transition(places, walk, jump):
    """Probability (places, places) of the next place, from the rule of one move."""
    out = [[0.0] * places for _ in range(places)]
    for here in range(places):
        for there in range(places):
            out[here][there] += jump / places
        out[here][here] += (1 - jump) * (1 - walk)
        for side in (-1, 1):
            there = min(max(here + side, 0), places - 1)
            out[here][there] += (1 - jump) * walk / 2
    return out


def forward(observations, tones, width, walk, jump):
    """Probability of the place before every frame, (frames + 1, places).

    ``observations`` holds for every frame {tone: is noisy} of the tones that were looked at.
    """
    places = tones - width + 1
    table = transition(places, walk, jump)
    belief = [1 / places] * places
    out = [belief]
    for seen in observations:
        likely = [
            b * all((place <= tone < place + width) == noisy for tone, noisy in seen.items())
            for place, b in enumerate(belief)
        ]
        total = sum(likely)
        belief = [
            sum(likely[here] / total * table[here][there] for here in range(places))
            for there in range(places)
        ]
        out.append(belief)
    return out


def split(bids, tones, total):
    """Tones of every link: one each, then the most underserved by quota, the first of equals.

    ``bids`` are shares that add up to 1. A link with n tones and quota q = total * bid is
    underserved by q - n.
    """
    found = [1] * len(bids)
    while sum(found) < min(total, tones * len(bids)):
        open_ = [p for p in range(len(bids)) if found[p] < tones]
        best = max(open_, key=lambda p: (total * bids[p] - found[p], -p))
        found[best] += 1
    return found
