//! A vector of fixed capacity that one writer fills while any number of readers look at what is already there.
//!
//! This is the only unsafe code of the live tables. What makes it sound: a [`Writer`] cannot be cloned, so each cell is
//! written once, by one thread, before `len` passes it (Release); a reader looks only below the `len` that it loaded
//! (Acquire); and the allocation never moves.

use arrow::alloc::Allocation;
use arrow::buffer::Buffer;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Cells<T> {
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
    len: AtomicUsize,
}

// SAFETY: cells below `len` are never written again, cells at or above it are touched by the one writer only.
unsafe impl<T: Copy + Send + Sync> Sync for Cells<T> {}
// SAFETY: the cells hold plain `Copy + Send` values.
unsafe impl<T: Copy + Send + Sync> Send for Cells<T> {}
// A panic cannot leave a cell below `len` half-written: `len` grows after the write.
impl<T> std::panic::RefUnwindSafe for Cells<T> {}

impl<T: Copy> Cells<T> {
    fn published(&self) -> &[T] {
        let len = self.len.load(Ordering::Acquire);
        // SAFETY: cells below `len` are initialised and never written again (see the module's comment).
        unsafe { std::slice::from_raw_parts(self.cells.as_ptr().cast::<T>(), len) }
    }
}

/// The one end that appends.
pub(super) struct Writer<T>(Arc<Cells<T>>);

/// An end that reads what has been appended so far. Cheap to clone.
pub(super) struct Reader<T>(Arc<Cells<T>>);

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Copy + Send + Sync + 'static> Writer<T> {
    /// Room for `capacity` values. The memory is reserved, not touched: a page is resident once a value is written to it.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let mut cells: Vec<UnsafeCell<MaybeUninit<T>>> = Vec::with_capacity(capacity);
        // SAFETY: `MaybeUninit` needs no initialisation, and there is room for `capacity` cells.
        unsafe { cells.set_len(capacity) };
        Self(Arc::new(Cells { cells: cells.into_boxed_slice(), len: AtomicUsize::new(0) }))
    }

    /// Appends a value; false if it is full.
    #[must_use]
    pub(super) fn push(&mut self, value: T) -> bool {
        self.extend(std::slice::from_ref(&value))
    }

    /// Appends all of `values`, or none and answers false if they do not fit.
    #[must_use]
    pub(super) fn extend(&mut self, values: &[T]) -> bool {
        let len = self.0.len.load(Ordering::Relaxed); // only this writer stores it
        let Some(cells) = self.0.cells.get(len..len + values.len()) else { return false };
        for (cell, value) in cells.iter().zip(values) {
            // SAFETY: at or above `len`, so no reader looks at it, and `&mut self` is the one writer.
            unsafe { (*cell.get()).write(*value) };
        }
        self.0.len.store(len + values.len(), Ordering::Release);
        true
    }

    pub(super) fn len(&self) -> usize {
        self.0.len.load(Ordering::Relaxed)
    }

    pub(super) fn reader(&self) -> Reader<T> {
        Reader(Arc::clone(&self.0))
    }
}

impl<T: Copy + Send + Sync + 'static> Reader<T> {
    /// What is there now.
    pub(super) fn slice(&self) -> &[T] {
        self.0.published()
    }

    /// The first `len` values as an Arrow buffer, without copying.
    pub(super) fn buffer(&self, len: usize) -> Buffer {
        let values = self.slice();
        let values = values.get(..len).unwrap_or(values);
        let owner: Arc<dyn Allocation> = Arc::clone(&self.0) as Arc<dyn Allocation>;
        // SAFETY: the bytes are initialised, never written again, and live as long as `owner`, which the buffer keeps.
        unsafe { Buffer::from_custom_allocation(NonNull::from(values).cast::<u8>(), size_of_val(values), owner) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_was_appended_and_no_more() {
        let mut writer = Writer::with_capacity(3);
        let reader = writer.reader();
        assert!(reader.slice().is_empty());
        assert!(writer.push(7u64) && writer.extend(&[8, 9]));
        assert!(!writer.push(10), "full");
        assert_eq!(reader.slice(), [7, 8, 9]);
        let buffer = reader.buffer(2);
        drop((writer, reader));
        assert_eq!(buffer.typed_data::<u64>(), [7, 8], "the buffer keeps the memory alive");
    }

    #[test]
    fn readers_never_see_a_cell_before_it_is_written() {
        let mut writer = Writer::with_capacity(100_000);
        let reader = writer.reader();
        let looking = std::thread::spawn(move || {
            loop {
                let seen = reader.slice();
                assert!(seen.iter().enumerate().all(|(i, v)| *v == i as u64));
                if seen.len() == 100_000 {
                    return;
                }
            }
        });
        for i in 0..100_000 {
            assert!(writer.push(i));
        }
        assert!(looking.join().is_ok(), "the reader saw nothing wrong");
    }
}
