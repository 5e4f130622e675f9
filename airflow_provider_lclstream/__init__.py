"""The control plane: decides, authorises and starts what streams; Airflow's provider package."""
