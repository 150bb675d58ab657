"""Images that wait at the same time are captioned together: a bounded queue and one worker."""
import asyncio
from concurrent.futures import ThreadPoolExecutor

class QueueFull(Exception): "There is no room for this many images"

class Batcher:
    "While the model is busy images collect, and the next batch takes what is there: nobody waits for company"
    def __init__(self,
        answer,           # Function of a list of images and a list of their options -> a list of results; run in one thread
        max_batch:int=8,  # Images answered together
        queue_size:int=64,# Images that may wait
        on_batch=None     # Called with the size of each batch
    ):
        self.answer, self.max_batch, self.on_batch = answer, max_batch, on_batch
        self.queue, self.pool, self.task = asyncio.Queue(queue_size), ThreadPoolExecutor(1, 'model'), None

    def start(self): self.task = asyncio.create_task(self._run())

    async def stop(self):
        "Finish what waits, then end"
        await self.queue.join()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.pool.shutdown()

    def room(self)->int: return self.queue.maxsize - self.queue.qsize()

    def submit(self, images, options)->list: # -> a future for each image
        "Queue all of these images or, if there is not room for all, none"
        if len(images) > self.room(): raise QueueFull
        futures = [asyncio.get_running_loop().create_future() for _ in images]
        for job in zip(images, options, futures): self.queue.put_nowait(job)
        return futures

    async def _run(self):
        while True:
            jobs = [await self.queue.get()]
            while len(jobs) < self.max_batch and not self.queue.empty(): jobs.append(self.queue.get_nowait())
            await self._answer([j for j in jobs if not j[2].done()]) # a client that left has cancelled its future
            for _ in jobs: self.queue.task_done()

    async def _answer(self, jobs):
        if not jobs: return
        if self.on_batch: self.on_batch(len(jobs))
        images, options, futures = zip(*jobs)
        try: results = await asyncio.get_running_loop().run_in_executor(self.pool, self.answer, list(images), list(options))
        except Exception as e:
            if len(jobs) > 1: # whichever is at fault fails alone
                for j in jobs: await self._answer([j])
                return
            results = [e]
        for f,r in zip(futures, results):
            if not f.done(): f.set_exception(r) if isinstance(r, Exception) else f.set_result(r)
