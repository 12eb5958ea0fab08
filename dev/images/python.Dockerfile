FROM scratch
ADD root.tar /
RUN ln -sf /usr/bin/python3 /usr/bin/python
ENV LANG=C.UTF-8 PYTHONUNBUFFERED=1
USER 10001:10001
CMD ["python3"]
