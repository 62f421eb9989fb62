"""Print samples of a task: python -m rmt.data.tasks show reverse --n 6"""

from rmt.data.tasks.tasks import main
from rmt.runtime.errors import run_program

if __name__ == "__main__":
    run_program(main)
