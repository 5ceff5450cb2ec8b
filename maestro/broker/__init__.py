"""RabbitMQ: messages and their publisher, queues and their bindings; pointers to jobs, never the truth."""
