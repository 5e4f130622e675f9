"""The transfer: what is asked for, how it runs, how it is judged. Pure, without Airflow."""
