"""Fault tests: a deployment to break, clients that record their replies, rules over the records, a protocol model.

model      the protocol in pure Python, with faults and planted bugs
rig        a whole deployment with a proxy on every hop
load       clients; history: the records of the clients
faults     faults of a rig; scenarios: the faults of a run and the promises that must hold
evidence   dumps of the stores, the provider's log; checker: the rules; figures: the measurements
plants     bugs built in on purpose, each of which the checker must find
runner     one scenario; lanes: several rigs side by side; report: the page
"""
