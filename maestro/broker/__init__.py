"""RabbitMQ: messages and their publisher, queues and their bindings. It holds pointers to jobs, never the truth."""
