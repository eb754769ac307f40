//! A proxy to a server that can be closed: connections stay open, but nothing passes until it is opened again.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// The proxy. Its threads end with the process.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Forwards every connection to `to`, a port of this machine. Returns the proxy's port.
    pub fn open_to(&self, to: u16) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = self.clone();
        thread::spawn(move || {
            for from in listener.incoming() {
                let (Ok(from), Ok(to)) = (from, TcpStream::connect(("127.0.0.1", to))) else { continue };
                let (back_from, back_to) = (to.try_clone().unwrap(), from.try_clone().unwrap());
                let (there, back) = (gate.clone(), gate.clone());
                thread::spawn(move || there.forward(from, to));
                thread::spawn(move || back.forward(back_from, back_to));
            }
        });
        port
    }

    /// From now on nothing passes.
    pub fn hold(&self) {
        *self.0.0.lock().unwrap() = true;
    }

    /// Everything passes again.
    pub fn release(&self) {
        *self.0.0.lock().unwrap() = false;
        self.0.1.notify_all();
    }

    fn forward(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |held| *held).unwrap());
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write); // it may be closed already
    }
}
