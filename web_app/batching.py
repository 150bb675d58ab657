"""Images that wait at the same time are captioned together: a queue and one worker. How many may wait is the application's business (`Service.admit`)."""
import asyncio
from concurrent.futures import ThreadPoolExecutor

class Batcher:
    "While the model is busy images collect, and the next batch takes what is there: nobody waits for company"
    def __init__(self,
        answer,           # Function of a list of images and a list of their options -> a list of results; run in one thread
        max_batch:int=8,  # Images answered together
        on_batch=None     # Called with the size of each batch
    ):
        self.answer, self.max_batch, self.on_batch = answer, max_batch, on_batch
        self.queue, self.pool, self.task = asyncio.Queue(), ThreadPoolExecutor(1, 'model'), None

    def start(self): self.task = asyncio.create_task(self._run())

    @property
    def alive(self): return self.task is not None and not self.task.done()

    async def stop(self, timeout:float=None): # Seconds, for what should never take so long
        "Finish what waits, then end"
        await asyncio.wait({asyncio.create_task(self.queue.join()), self.task}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.pool.shutdown(wait=False)

    def submit(self, images, options)->list: # -> a future for each image
        "Queue these images; whoever cancels a future in time has spared the work"
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
