"""A bot as they were written for rps-maestro, with pika and requests: it knows the contract, not Maestro.

    BOT_KIND=careful    checks status first, polls for a cancellation while it works, acknowledges last
    BOT_KIND=silent     start, log and finish; nobody hears of it in between
    BOT_KIND=insistent  sends finish until it is answered, and once more to be sure

A job's `seconds` say how long it takes; one with `deadly` takes the bot's process with it. What each call was
answered is a line of standard output.
"""

import json
import os
import time

import pika
import requests

API = os.environ["API_URL"]
QUEUE = os.environ["QUEUE"]
POLL_SECONDS = float(os.environ.get("POLL_SECONDS", "30"))


class Careful:
    def __init__(self, connection):
        self.connection = connection
        self.session = requests.Session()
        self.session.headers["X-Worker-API-Key"] = os.environ["WORKER_KEY"]

    def call(self, method, job, what, body=None, timeout=30):
        url = f"{API}/worker/jobs/{job}/{what}"
        try:
            reply = self.session.request(method, url, json=body, timeout=timeout)
        except requests.RequestException as error:
            print(job, what, type(error).__name__, flush=True)
            raise
        print(job, what, reply.status_code, flush=True)
        return reply

    def log(self, job, message):
        self.call("POST", job, "log", {"level": "INFO", "message": message}).raise_for_status()

    def handle(self, message):
        job = message["job_id"]
        status = self.call("GET", job, "status")
        status.raise_for_status()
        if status.json()["terminal"]:
            return
        self.call("POST", job, "start").raise_for_status()
        self.run(job, message)

    def run(self, job, message):
        parameters = message["parameters"]
        self.log(job, f"running {message['script_path']} of automation {message['automation_id']}")
        if parameters.get("deadly"):
            os._exit(137)  # as when the kernel ends it for want of memory
        if self.work(job, parameters.get("seconds", 0)):
            self.finish(job, {"status": "completed", "result": {"summary": {"ok": 1, "failed": []}}})
        else:
            self.finish(job, {"status": "canceled", "result": {"error": "somebody asked to stop"}})

    def work(self, job, seconds):
        """False when it was to stop."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.connection.sleep(min(POLL_SECONDS, seconds))
            reply = self.call("GET", job, "cancellation")
            if reply.ok and reply.json()["cancellation_requested"]:
                return False
        return True

    def finish(self, job, end):
        self.call("POST", job, "finish", end).raise_for_status()


class Silent(Careful):
    def handle(self, message):
        started = self.call("POST", message["job_id"], "start")
        if started.ok:
            self.run(message["job_id"], message)

    def work(self, job, seconds):
        self.connection.sleep(seconds)
        return True


class Insistent(Careful):
    def finish(self, job, end):
        self.answered(job, end, 0.000001)  # whatever comes of it: this reply is lost
        while not self.answered(job, end, 30):
            time.sleep(0.5)
        super().finish(job, end)

    def answered(self, job, end, patience):
        try:
            return self.call("POST", job, "finish", end, timeout=(30, patience)).ok
        except requests.RequestException:
            return False


def main():
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
    channel = connection.channel()
    channel.queue_declare(QUEUE, durable=True, arguments={"x-dead-letter-exchange": "maestro.dlx"})
    channel.basic_qos(prefetch_count=1)
    kinds = {"careful": Careful, "silent": Silent, "insistent": Insistent}
    bot = kinds[os.environ.get("BOT_KIND", "careful")](connection)
    print("consuming", flush=True)
    for method, _properties, body in channel.consume(QUEUE):
        bot.handle(json.loads(body))
        channel.basic_ack(method.delivery_tag)


if __name__ == "__main__":
    main()
