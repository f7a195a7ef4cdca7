"""The leaderboard: tasks, evaluation, scoring, submissions, store and page.

The judge (every module but ``reference`` and ``cli``) cannot see a contestant: it imports neither
``baselines`` nor ``agents``. Nothing is imported here, so that ``import leaderboard`` stays light.
"""
