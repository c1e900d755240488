"""`rxotlp demo`: a gateway between a real program and a second receiver, checked by id.

program.py      an application with unmodified OpenTelemetry exporters   (a process)
pipeline.py     the gateway: the file to copy                            (this process)
backend.py      where the gateway sends to, an `rxotlp run`              (a process)
accounting.py   every record that was sent is where it belongs, or it is a fault
show.py         the table, or plain lines where there is no terminal
processes.py    the other processes
main.py         starts them, stops them in order, says what came of it

`rxotlp demo flows`: operations, flows, organizers, loggers and schedulers in virtual time.

flows.py        runs it, and says what came of it
shop.py         the pipeline, and what drives it
orders.py       what is executed
"""

__all__: list[str] = []
