"""Fixtures for all tests."""

from support.s3_servers import ceph, ceph_s3, ceph_s3_tls, certificate, rclone_s3, rclone_s3_tls

__all__ = ["ceph", "ceph_s3", "ceph_s3_tls", "certificate", "rclone_s3", "rclone_s3_tls"]
