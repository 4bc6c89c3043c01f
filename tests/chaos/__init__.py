"""Kill anything: a rig to break, clients that write down what they see, a checker that judges, a model of the protocol.

model      the protocol in pure Python, with its faults and planted bugs
rig        a whole deployment with a proxy on every hop
load       clients; history: what they saw
faults     what can be done to a rig; scenarios: which of it, and what must hold
evidence   dumps of the stores, the provider's log; checker: the rules; figures: what was measured
plants     bugs built in on purpose, each of which the checker must find
runner     one scenario; lanes: several rigs side by side; report: the page
"""
