//! Buffers that are used again. Chunks, batches and pieces of blocks come and go thousands of times, and the kernel must zero
//! each page of new memory. A pool keeps returned buffers up to a bound in bytes, and frees the rest.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;

/// A buffer that a pool can keep.
pub trait Buffer: Default {
    /// Empties it, but keeps its memory.
    fn clear(&mut self);

    /// The bytes of memory that it holds.
    fn capacity_bytes(&self) -> usize;
}

impl Buffer for Vec<u8> {
    fn clear(&mut self) {
        self.clear();
    }

    fn capacity_bytes(&self) -> usize {
        self.capacity()
    }
}

/// Empty buffers that wait for their next use.
#[derive(Debug)]
pub struct Pool<T> {
    bytes_max: usize,
    kept: Mutex<Kept<T>>,
}

#[derive(Debug)]
struct Kept<T> {
    buffers: Vec<T>,
    bytes: usize,
}

impl<T: Buffer> Pool<T> {
    /// A pool that keeps up to `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, kept: Mutex::new(Kept { buffers: Vec::new(), bytes: 0 }) })
    }

    /// The buffer returned last, which is probably still in the processor's cache, or a new one from `make`.
    pub fn take(self: &Arc<Self>, make: impl FnOnce() -> T) -> Recycled<T> {
        let kept = {
            let mut kept = self.kept.lock();
            let buffer = kept.buffers.pop();
            kept.bytes -= buffer.as_ref().map_or(0, Buffer::capacity_bytes);
            buffer
        };
        Recycled { buffer: kept.unwrap_or_else(make), pool: Some(Arc::clone(self)) }
    }

    fn give_back(&self, mut buffer: T) {
        buffer.clear();
        let bytes = buffer.capacity_bytes();
        let mut kept = self.kept.lock();
        if kept.bytes + bytes <= self.bytes_max {
            kept.bytes += bytes;
            kept.buffers.push(buffer);
        }
    }
}

/// A buffer that returns to its pool on drop.
#[derive(Debug)]
pub struct Recycled<T: Buffer> {
    buffer: T,
    pool: Option<Arc<Pool<T>>>,
}

impl<T: Buffer> From<T> for Recycled<T> {
    /// A buffer without a pool.
    fn from(buffer: T) -> Self {
        Self { buffer, pool: None }
    }
}

impl<T: Buffer> Deref for Recycled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.buffer
    }
}

impl<T: Buffer> DerefMut for Recycled<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.buffer
    }
}

impl AsRef<[u8]> for Recycled<Vec<u8>> {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl<T: Buffer> Drop for Recycled<T> {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.give_back(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_used_again_empty_and_with_its_memory() {
        let pool = Pool::new(100);
        let mut first = pool.take(Vec::new);
        first.extend_from_slice(&[7; 60]);
        let capacity = first.capacity();
        drop(first);
        let again = pool.take(|| unreachable!("there is one"));
        assert_eq!((again.len(), again.capacity()), (0, capacity));
        assert!(pool.take(Vec::new).capacity() == 0, "the pool had only one");
    }

    #[test]
    fn what_passes_the_bound_is_freed() {
        let pool = Pool::new(100);
        for _ in 0..2 {
            // both are alive at the same time
            let (_one, _other) = (pool.take(|| vec![0_u8; 60]), pool.take(|| vec![0_u8; 60]));
        }
        assert_eq!(pool.kept.lock().buffers.len(), 1);
        drop(Recycled::from(vec![0_u8; 60]));
        assert_eq!(pool.kept.lock().bytes, 60);
        // the first is in use while the second is returned, so both are kept
        let first = pool.take(|| unreachable!("there is one"));
        drop(pool.take(|| vec![0_u8; 30]));
        drop(first);
        assert_eq!(pool.kept.lock().bytes, 90, "together they are within the bound");
    }

    #[test]
    fn a_buffer_without_a_pool_is_the_buffer() {
        let mut buffer = Recycled::from(vec![1_u8, 2]);
        buffer.push(3);
        assert_eq!((buffer.as_ref(), buffer.len()), ([1, 2, 3].as_slice(), 3));
    }
}
