"""Celery's policy as plain values. A message is only a doorbell: the row in PostgreSQL is the task."""

task_default_queue = "generations"
task_serializer = "json"
accept_content = ["json"]
# Redelivery, results and retries are PostgreSQL's business (lease, row, sweeper): Celery's would do them twice.
task_acks_late = False
task_ignore_result = True
result_backend = None
worker_prefetch_multiplier = 1
# A worker without a free slot takes no doorbell: another worker may have one. Only Redis brokers know this.
worker_disable_prefetch = True
# After a reconnection Celery takes fewer tasks at first, and takes more from the thread of each. That thread then waits
# for RabbitMQ's reply on the connection which the main thread reads: each takes bytes of the other, and both wait.
worker_enable_prefetch_count_reduction = False
worker_send_task_events = True
task_send_sent_event = True
worker_consumer = "worker.celery_consumer:Consumer"
worker_hijack_root_logger = False
broker_connection_retry_on_startup = True
broker_connection_timeout = 2
# A broker that is full refuses what a connection begins with, and is not full for ever.
broker_channel_error_retry = True
broker_connection_max_retries = None
# A send is given up after about a second; the sweeper finds what it leaves.
broker_transport_options = {
    "socket_timeout": 2,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    "health_check_interval": 10,
    # No task is ever unacknowledged for long (acks_late is off), so this only has to be above a network pause.
    "visibility_timeout": 3600,
}
task_publish_retry = False
timezone = "UTC"
