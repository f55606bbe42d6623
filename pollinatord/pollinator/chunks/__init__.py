"""Chunks, packs, trees and the stores that keep them; used by the daemon and the executors."""
